"""The interactive app: cameras, window, menu and the flows between them."""
