"""Rules that every HTTP server of Drover keeps, whatever it serves.

    SameOrigin(app, hosts)       refuses requests that name a foreign host or come from a foreign page
    BearerToken(app, token)      refuses requests without the token
    basic_password(headers)      the password that a browser sends to one port alone

The first two are plain ASGI wrappers for HTTP and WebSocket, so that they hold in front of Drover's own applications
and of other people's alike. Put `SameOrigin` outermost.

What is not covered: who may connect at all (bind to loopback), TLS, and rates.
"""

from ._guards import LOOPBACK_HOSTS, App, BearerToken, Receive, SameOrigin, Scope, Send, basic_password

__all__ = ["LOOPBACK_HOSTS", "App", "BearerToken", "Receive", "SameOrigin", "Scope", "Send", "basic_password"]
