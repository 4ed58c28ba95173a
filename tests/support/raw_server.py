"""A server on the loopback address that says, byte for byte, what a test tells it, and counts who comes."""

from __future__ import annotations

import contextlib
import socket
import threading


class RawServer:
    """Calls `answer(connection, request)` in a thread for each connection, once its request is whole.

    `answer` may be replaced, and may be bytes: then they are sent and the connection is closed.
    """

    def __init__(self, answer=b"", *, host="127.0.0.1", tls=None, reads=True):
        self.answer, self.tls, self.reads = answer, tls, reads
        self.requests: list[bytes] = []
        self.connections = 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
        )
        self.port = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self):
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        self._accepting.join()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain):
        connection = plain
        try:
            if self.tls:
                connection = self.tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open = self._open - {plain} | {connection}
            request = b""
            while self.reads and b"\r\n\r\n" not in request:
                block = connection.recv(65536)
                if not block:
                    return
                request += block
            with self._lock:
                self.requests.append(request)
            if callable(self.answer):
                self.answer(connection, request)
            else:
                connection.sendall(self.answer)
        except OSError:
            pass  # the client went away, as it should in many tests
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
