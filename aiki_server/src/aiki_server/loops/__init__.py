"""What a coordinator does by itself: timers, sweeps, streams."""
