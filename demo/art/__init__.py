"""Training pictures from artists' vector drawings: colors, line art, regions and words, drawn anew from a seed."""
