"""What the person touches: %kf, %%kf and their Python twin."""
