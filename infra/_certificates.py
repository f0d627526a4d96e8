"""Certificates by which the processes of one part know each other, and refuse everyone else on this machine."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ._home import write_private

AUTHORITY, CERTIFICATE, KEY = "ca.crt", "node.crt", "node.key"
"""Names below a part's folder, all mode 600."""
_LASTS = datetime.timedelta(days=3650)


def write_certificates(folder: Path, subject: str) -> None:
    """A certificate authority whose key is forgotten at once, and the one certificate it ever signs.

    Who holds `node.key` is in, as a server and as a client; nobody else can ever be.

    Args:
        subject: what they are for, in the authority's name.
    """
    authority_key, node_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> str:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + _LASTS)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    node = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "drover")])
    addresses = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    private = node_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ca = certificate(authority, authority_key, x509.BasicConstraints(ca=True, path_length=0))
    write_private(folder / AUTHORITY, ca)
    write_private(folder / CERTIFICATE, certificate(node, node_key, addresses, usage))
    write_private(folder / KEY, private.decode())
