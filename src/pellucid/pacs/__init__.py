"""Archives of medical images (PACS): what is fetched from them, and what is sent to them."""
