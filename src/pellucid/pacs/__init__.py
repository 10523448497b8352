"""Medical image archives (PACS): fetch images from them and send results to them."""
