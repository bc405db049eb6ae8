"""One window a user: the second start asks the first window to come up, and ends."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QLockFile, QObject, Signal

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtNetwork import QLocalServer

RAISE = b"raise\n"
OPEN = b"open "  # and the path of a file, to the end of the line
ANSWER = b"up\n"
PATIENCE_S = 8.0
STEP_MS = 400


class SingleInstance(QObject):
    """Holds a lock file for the life of the window; a local socket beside it carries the one message.

    The lock decides who is first, so two starts at the same moment cannot both win, and it is free again when its
    owner died. The socket's name holds a digest of the folder: other users and other homes have their own.

    Signals:
        raised: another start asked for the window.
        file_wanted: it was started with a file; its path.
    """

    raised = Signal()
    file_wanted = Signal(str)

    def __init__(self, folder: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._name = "slmdesk-" + hashlib.sha256(str(folder).encode()).hexdigest()[:24]
        self._lock = QLockFile(str(folder / "window.lock"))
        self._lock.setStaleLockTime(0)
        self._server: QLocalServer | None = None

    def first(self) -> bool:
        """Whether this is the only window. Where no lock can be written (no rights, a full disk), every window is."""
        return self._lock.tryLock(0) or self._lock.error() != QLockFile.LockError.LockFailedError

    def listen(self) -> None:
        """Hear from later starts. A socket that a dead window left behind is taken away."""
        from PySide6.QtNetwork import QLocalServer

        server = QLocalServer(self)
        server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        QLocalServer.removeServer(self._name)
        server.newConnection.connect(self._heard)
        server.listen(self._name)
        self._server = server

    def ask_first(self, file: str = "") -> bool:
        """Ask the first window to come up, and to open `file`; False when it does not answer within a few seconds."""
        from PySide6.QtNetwork import QLocalSocket

        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            socket = QLocalSocket()
            socket.connectToServer(self._name)
            if socket.waitForConnected(STEP_MS):
                socket.write(OPEN + file.encode("utf-8", "surrogateescape") + b"\n" if file else RAISE)
                socket.waitForBytesWritten(STEP_MS)
                # The answer may have come while the question was still being written.
                if socket.bytesAvailable() or socket.waitForReadyRead(int(PATIENCE_S * 1000)):
                    return True
            # The first window may be about to listen.
            time.sleep(STEP_MS / 4000)
        return False

    def release(self) -> None:
        """Let another window be the first."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._lock.unlock()

    def _heard(self) -> None:
        server = self._server
        while server is not None and server.hasPendingConnections():
            socket = server.nextPendingConnection()
            socket.write(ANSWER)
            socket.flush()
            # A method, not a closure over the socket: that would keep both alive in a circle that Qt does not know.
            socket.readyRead.connect(self._read)
            socket.disconnected.connect(socket.deleteLater)
            self.raised.emit()
        self._read()

    def _read(self) -> None:
        """Take what other starts have written by now."""
        from PySide6.QtNetwork import QLocalSocket

        for socket in self._server.findChildren(QLocalSocket) if self._server is not None else ():
            while socket.canReadLine():
                line = bytes(socket.readLine().data()).rstrip(b"\n")
                if line.startswith(OPEN):
                    self.file_wanted.emit(line[len(OPEN) :].decode("utf-8", "surrogateescape"))
