"""`python -m aiki_server server …` and `python -m aiki_server dev …`."""

from aiki_server.command import main
from aiki_server.dev import dev

main.add_command(dev)
main()
