"""What every command shares: its errors and options, its progress bar, and Paddle."""
