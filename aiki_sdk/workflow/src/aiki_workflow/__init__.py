"""Define Aiki workflows: ordinary async Python, replayed from its history."""
