"""Run explanations: of tensors in memory, of single images, and of whole folders of files."""
