"""Agreeing on TLS: TF's order of stanzas, and what either end says to one that will not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filament.base.errors import ProtocolError
from filament.base.limits import MAX_PREFACE_BYTES
from filament.wire.xmpp.session import ClientSession, ServerSession
from filament.wire.xmpp.starttls import TlsClient, TlsServer


def test_both_agree_in_the_order_of_the_rfc():
    client, server = TlsClient("host1"), TlsServer()
    header = client.data_to_send()
    assert b"<stream:stream from='host1'" in header
    server.receive_data(header)
    answer = server.data_to_send()
    assert answer.endswith(
        b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/>"
        b"</starttls></stream:features>"
    )
    client.receive_data(answer)
    start = client.data_to_send()
    assert start == b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    assert not server.is_agreed
    server.receive_data(start)
    assert server.is_agreed
    assert server.peer == "host1"
    client.receive_data(server.data_to_send())
    assert client.is_agreed
    assert client.peer == "network-control@contrailsystems.com"


def test_an_agent_without_tls_is_told_so_in_its_own_words():
    agent, server = ClientSession("host1", 0.0), TlsServer()
    server.receive_data(b"".join(agent.data_to_send(0.0)))
    agent.receive_data(server.data_to_send(), 0.0)
    with pytest.raises(ProtocolError, match="requires TLS"):
        server.receive_data(b"<iq type='set'/>")
    assert b"switch it on at the agent too" in server.data_to_send()
    assert agent.closed
    assert "switch it on at the agent too" in str(agent.trace[-1].detail)


def test_an_agent_with_tls_never_goes_on_in_the_clear():
    client, server = TlsClient("host1"), ServerSession(0.0)
    server.receive_data(client.data_to_send(), 0.0)
    client.receive_data(b"".join(server.data_to_send(0.0)))
    assert client.data_to_send() == b""  # and waits, until its owner's patience ends
    with pytest.raises(ProtocolError, match="switch it on at the control node too"):
        client.receive_data(b"<message/>")


@pytest.mark.parametrize("end", [TlsServer, lambda: TlsClient("host1")])
def test_nothing_may_be_said_between_agreement_and_handshake(end):
    other = end()
    header = TlsClient("x").data_to_send()
    last = b"<%b xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" % (
        b"starttls" if isinstance(other, TlsServer) else b"proceed"
    )
    with pytest.raises(ProtocolError, match="before TLS began"):
        other.receive_data(header + last + b"<iq type='set'/>")
    again = end()
    with pytest.raises(ProtocolError, match="before TLS began"):
        again.receive_data(header + last + b"\x16\x03\x01")


def test_a_preface_is_bounded_and_an_end_is_no_agreement():
    with pytest.raises(ProtocolError, match=f"more than {MAX_PREFACE_BYTES} bytes"):
        TlsServer().receive_data(b" " * (MAX_PREFACE_BYTES + 1))
    with pytest.raises(ProtocolError, match="closed before TLS"):
        TlsClient("host1").receive_data(b"")
    client = TlsClient("host1")
    client.receive_data(TlsClient("x").data_to_send())
    with pytest.raises(ProtocolError, match="the peer refused the stream: no"):
        client.receive_data(b"<stream:error><text>no</text></stream:error>")


@given(st.lists(st.sampled_from([
    TlsClient("a").data_to_send(), b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    b"<stream:features/>", b"<", b">", b"x", b"<iq/>", b"</stream:stream>",
]) | st.binary(max_size=40), max_size=6))  # fmt: skip
def test_whatever_comes_is_agreement_or_a_protocol_error(pieces):
    for end in (TlsServer(), TlsClient("host1")):
        try:
            for piece in pieces:
                end.receive_data(piece)
        except ProtocolError:
            assert not end.is_agreed or end.data_to_send()
