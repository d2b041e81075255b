"""The pack's own socket types (colorize_core says what travels on them)."""

from comfy_api.latest import io

CATEGORY = "ColorizeDiffusion"

Tokens = io.Custom("COLORIZE_TOKENS")
Sketch = io.Custom("COLORIZE_SKETCH")
Tagger = io.Custom("COLORIZE_TAGGER")
Palette = io.Custom("COLORIZE_PALETTE")
