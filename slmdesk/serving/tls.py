"""TLS with a certificate and a key that were given, and what is wrong with those in words."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from slmdesk.core.errors import SlmDeskError


def tls_context(certificate: str, key: str) -> ssl.SSLContext | None:
    """For a server with these PEM files; None without any. The key may stand in the certificate's file.

    Raises `SlmDeskError("tls_invalid")`.
    """
    if not certificate:
        if key:
            _refuse(
                "A key for TLS was given, and no certificate.", "Give both: --tls-cert FILE --tls-key FILE"
            )
        return None
    cert_file = _file(certificate, "certificate")
    key_file = _file(key, "key") if key else cert_file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        _certificate_in(cert_file)
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            _refuse(
                f"The key in {key_file} is not that of the certificate in {cert_file}.",
                "Give the two files that were made together.",
            )
        _refuse(
            f"{key_file} holds no private key in PEM form.", "It begins with “-----BEGIN PRIVATE KEY-----”."
        )
    except OSError as error:
        _refuse(f"{key_file} cannot be read: {error.strerror or error}.", "Check its permissions.")
    return context


def _certificate_in(file: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=str(file))
    except ssl.SSLError:
        _refuse(
            f"{file} holds no certificate in PEM form.",
            "It begins with “-----BEGIN CERTIFICATE-----”; openssl x509 -inform der makes one of a .der file.",
        )


def _file(text: str, what: str) -> Path:
    path = Path(text).expanduser()
    try:
        with path.open("rb"):
            return path
    except FileNotFoundError:
        _refuse(f"There is no file {path} with the {what} for TLS.", "Check the path.")
    except IsADirectoryError:
        _refuse(f"{path} is a folder; the {what} for TLS is a file.", "Name the file in it.")
    except OSError as error:
        _refuse(
            f"{path}, the {what} for TLS, cannot be read: {error.strerror or error}.",
            "Check its permissions.",
        )


def _no_password() -> NoReturn:
    _refuse(
        "The key for TLS is protected by a password, which nobody could type when the service starts.",
        "openssl pkey -in KEY -out PLAIN writes one without; keep that file readable for you alone.",
    )


def _refuse(message: str, hint: str) -> NoReturn:
    raise SlmDeskError("tls_invalid", message, hint)
