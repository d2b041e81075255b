"""From a colored picture to layers: the drawing's own lines, color that ends at them, flat areas, palettes, files."""
