"""The demo model: a colorizer, its autoencoder and its CLIP, small enough to ship, trained on drawn figures."""
