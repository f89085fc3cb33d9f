"""More to be played while workers are killed: what the examples do not show. Each has a `scenario` and what comes of it."""
