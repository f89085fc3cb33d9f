"""The Aiki worker: runs workflows and tasks over one session with a coordinator."""
