"""The parts of the page, one file each: they make of an ``Evaluation`` what the templates show."""
