"""What all versions on Stable Diffusion 2's denoiser have in common: the places of five hints and of 16 attentions."""

from .config import AttentionLayout, HintLayout

FIVE_MAPS = HintLayout(blocks=(0, 3, 6, 9, 11), downscales=(1, 2, 4, 8, 8))
SIXTEEN_ATTENTIONS = AttentionLayout(16, encoder=(0, 1), color=(2, 3, 10, 11, 12), semantics=(4, 5, 7, 8, 9))
