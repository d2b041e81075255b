"""The ablation in miniature: what each strategy does against the distribution problem, in numbers.

One base, trained without any reference, learns to draw a picture from its sketch. From it every set-up trains with the
same steps, pictures and draws: they differ in the strategy alone. A picture's reference is a thin-plate-spline warp of
itself (arXiv 2401.01456), so that colors can be copied from the place where they stand in the reference; measured is
with references that show them elsewhere.
"""
