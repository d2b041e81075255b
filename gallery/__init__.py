"""What ComfyUI and the README show of the pack, made by code: the templates, their thumbnails, the pictures."""
