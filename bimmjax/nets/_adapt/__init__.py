"""Images of one kind made to look like another: CycleGAN, and a learned simulator."""
