"""What only the disk can say of a setting's new value, asked when it is set."""

from __future__ import annotations

from pathlib import Path

from slmdesk.core.errors import SlmDeskError


def check_certificates(key: str, path: str) -> None:
    """Raises `SlmDeskError("setting_invalid")` where `path` is set and is no readable file of PEM certificates."""
    if not path.strip():
        return
    import ssl

    file = Path(path.strip()).expanduser()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=str(file))
    except FileNotFoundError as error:
        raise SlmDeskError(
            "setting_invalid", f"{key}: there is no file {file}.", "Check the path."
        ) from error
    except IsADirectoryError as error:
        raise SlmDeskError("setting_invalid", f"{key}: {file} is a folder.", "Name a file in it.") from error
    except ssl.SSLError as error:
        raise SlmDeskError(
            "setting_invalid", f"{key}: {file} holds no certificates.", "Name a file in PEM form."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SlmDeskError(
            "setting_invalid", f"{key}: {file} cannot be read: {reason}.", "Check the path."
        ) from error
