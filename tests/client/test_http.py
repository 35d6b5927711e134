"""Why there is no answer, in words."""

import socket
import threading

import pytest

from filament.client.connection import BrokenAnswerError
from filament.client.http import NoAnswerError, connection_to, reason_of, request


def serve_once(listener, content):
    def answer():
        peer, _ = listener.accept()
        with peer:
            peer.recv(1000)
            peer.sendall(content)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it closed the connection without answering"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what listens there does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", "its answer is cut off"),
    ],
)
def test_what_a_broken_server_did_is_said(tmp_path, content, reason):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        thread = serve_once(listener, content)
        with pytest.raises(NoAnswerError, match=reason):
            request(f"unix:{tmp_path}/x.sock", "GET", "/")
        thread.join()


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        FileNotFoundError(2, "No such file or directory"),
        PermissionError(13, "Permission denied"),
        ConnectionRefusedError(111, "Connection refused"),
        ConnectionResetError(104, "Connection reset by peer"),
        BrokenPipeError(32, "Broken pipe"),
        OSError(113, "No route to host"),
        BrokenAnswerError("its answer is cut off"),
    ],
)
def test_no_reason_is_an_error_number(error):
    assert "Errno" not in reason_of(error, 1)
    assert len(reason_of(error, 1).split()) > 2


def test_a_port_that_is_not_given_is_tfs():
    assert connection_to("http://api.example", 1).port == 8082
    assert connection_to("http://[::1]:9/", 1).host == "::1"
