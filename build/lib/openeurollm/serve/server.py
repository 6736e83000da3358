"""Listening on a port, and serving until interrupted."""

import errno
import socket

from openeurollm.errors import BadInput, Failure
from openeurollm.serve.guard import Guard


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port` (0 finds a free one).

    Raises `Failure` where the port is taken or not allowed, `BadInput` where the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=100)
    except OverflowError:
        raise BadInput(f"--port {port}: ports are 0 to 65535") from None
    except socket.gaierror:
        raise BadInput(f"--host {host}: not an address of this machine") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failure(f"port {port} is in use; stop what uses it, or choose another with --port") from None
        if error.errno == errno.EACCES:
            raise Failure(f"port {port} needs more rights; choose one above 1023 with --port") from None
        raise BadInput(f"--host {host}: not an address of this machine") from None


def run(app: Guard, listening: socket.socket) -> None:
    """Serve until interrupted; answers under way are stopped."""
    import uvicorn

    class Server(uvicorn.Server):
        """Stops the answers before it waits for the clients that they go to."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5, server_header=False, lifespan="off")
    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return
