"""What huggingface_hub and its HTTP client raise, as the errors a person sees. The one place that does it."""

from __future__ import annotations

import json
import re
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from slmdesk.core.error_codes import ErrorCode

DEFAULT_ENDPOINT = "https://huggingface.co"
_OFFLINE_HINT = "Turn off “Work offline” in the settings."
_LATER = "Try again in a while."


class HubError(SlmDeskError):
    """A hub's refusal or failure. `temporary`: trying again later may help. `retry_after_s`: not before that."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        hint: str = "",
        *,
        details: str = "",
        temporary: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, message, hint, details=details)
        self.temporary = temporary
        self.retry_after_s = retry_after_s


def offline_error() -> HubError:
    return HubError("offline", "SLM Desk works offline.", _OFFLINE_HINT)


@contextmanager
def converted(endpoint: str, repo: str = "") -> Iterator[None]:
    """Turns what huggingface_hub, httpx2 and JSON raise inside into `HubError`; other exceptions pass."""
    try:
        yield
    except SlmDeskError:
        raise
    except Exception as error:
        told = hub_error(error, endpoint, repo)
        if told is None:
            raise
        raise told from error


def hub_error(error: BaseException, endpoint: str = DEFAULT_ENDPOINT, repo: str = "") -> SlmDeskError | None:
    """The error in words, or None for one that has nothing to do with a hub (a full disk, a defect).

    Codes: offline, hub_unreachable, hub_timeout, storage_unreachable, connection_lost, proxy_failed,
    certificate_invalid, token_missing, token_invalid, licence_not_accepted, access_pending, access_refused,
    repo_not_found, revision_not_found, file_not_found, repo_disabled, name_invalid, rate_limited, hub_down,
    hub_answer_invalid, hub_error.
    """
    import httpx2
    from huggingface_hub import errors

    if isinstance(error, SlmDeskError):
        return error
    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubError(
            "offline", "The Hugging Face library is set to work offline.", "Unset HF_HUB_OFFLINE."
        )
    if isinstance(error, errors.HFValidationError):
        return HubError(
            "name_invalid",
            f"{repo or 'This'} is no name of a model on a hub.",
            "A model is named publisher/name.",
        )
    response = getattr(error, "response", None)
    if isinstance(error, httpx2.HTTPError) and isinstance(response, httpx2.Response):
        return _refusal(error, response, endpoint, repo)
    if isinstance(error, httpx2.HTTPError):
        return _transport(error, endpoint)
    if isinstance(error, httpx2.InvalidURL):
        return HubError(
            "hub_answer_invalid", f"The hub {endpoint} answered with an address that is none.", _LATER
        )
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
        return HubError(
            "hub_answer_invalid",
            f"{endpoint} answered with something that is not the answer of a hub.",
            "Check the hub's address and the proxy in the settings, or try again in a while.",
            details=str(error)[:300],
            temporary=True,
        )
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return hub_error(
            error.__cause__, endpoint, repo
        )  # the client's way to say why it fell back to its cache
    if isinstance(error, (errors.FileMetadataError, errors.LocalEntryNotFoundError)):
        return HubError(
            "hub_answer_invalid",
            f"{endpoint} does not answer as a hub does.",
            "Check the hub's address in the settings.",
            details=_technical(error),
        )
    return None


def _transport(error: Any, endpoint: str) -> HubError:
    import httpx2

    from slmdesk.hub.client import ProxyUnreachableError, caused_by

    details = _technical(error)
    if isinstance(error, ProxyUnreachableError):
        return HubError(
            "proxy_failed",
            f"The proxy {error} cannot be reached.",
            "Check the network connection, and the proxy in the settings and the environment.",
            details=details,
            temporary=True,
        )
    if isinstance(error, httpx2.ProxyError):
        return HubError(
            "proxy_failed",
            "The proxy did not let the connection through.",
            "Check the proxy in the settings.",
            details=details,
            temporary=True,
        )
    if host := _elsewhere(_address(error), endpoint):
        return _of_storage(error, host, endpoint)
    if isinstance(error, httpx2.TimeoutException):
        return HubError(
            "hub_timeout", f"{endpoint} did not answer in time.", _LATER, details=details, temporary=True
        )
    if caused_by(error, ssl.SSLError):
        return _untrusted(endpoint, details)
    if isinstance(error, httpx2.TooManyRedirects):
        return HubError(
            "hub_answer_invalid",
            f"{endpoint} sends us round in circles.",
            "Check the hub's address in the settings.",
            details=details,
        )
    if isinstance(error, httpx2.UnsupportedProtocol):
        return HubError(
            "endpoint_invalid",
            f"{endpoint} is no address of a hub.",
            "A hub's address starts with https:// (setting hub.endpoint).",
            details=details,
        )
    if isinstance(error, (httpx2.ConnectError,)):
        return HubError(
            "hub_unreachable",
            f"{endpoint} cannot be reached.",
            "Check the network connection, and the proxy in the settings.",
            details=details,
            temporary=True,
        )
    return HubError(
        "connection_lost", f"The connection to {endpoint} broke off.", _LATER, details=details, temporary=True
    )


def _untrusted(host: str, details: str) -> HubError:
    return HubError(
        "certificate_invalid",
        f"The certificate of {host} is not trusted here.",
        "If your network inspects connections, name its certificate file in the settings (network.ca_file).",
        details=details,
    )


def _of_storage(error: Any, host: str, endpoint: str) -> HubError:
    """The hub answered and sent us on: to the place where the files are, which is another machine."""
    import httpx2

    from slmdesk.hub.client import caused_by

    details = _technical(error)
    what = f"{host}, where {endpoint} keeps its files,"
    if caused_by(error, ssl.SSLError):
        return _untrusted(host, details)
    if isinstance(error, httpx2.TimeoutException):
        return HubError(
            "storage_unreachable", f"{what} did not answer in time.", _LATER, details=details, temporary=True
        )
    if isinstance(error, httpx2.ConnectError):
        return HubError(
            "storage_unreachable",
            f"{what} cannot be reached.",
            f"The hub itself answers. Check that your network and its firewall let {host} through.",
            details=details,
            temporary=True,
        )
    return HubError(
        "connection_lost", f"The connection to {host} broke off.", _LATER, details=details, temporary=True
    )


def _address(error: Any) -> httpx2.URL | None:
    """Where the request that failed was to go."""
    try:
        url: httpx2.URL = error.request.url
    except RuntimeError:  # it was not told
        return None
    return url


def _elsewhere(url: httpx2.URL | None, endpoint: str) -> str:
    """The machine asked, where it is another one than the hub's; else ""."""
    import httpx2

    hub = httpx2.URL(endpoint)
    return url.host if url is not None and (url.host, url.port) != (hub.host, hub.port) else ""


def _refusal(error: BaseException, response: Any, endpoint: str, repo: str) -> HubError:
    from huggingface_hub import errors

    status = int(response.status_code)
    said = str(response.headers.get("X-Error-Message", ""))
    code = str(response.headers.get("X-Error-Code", ""))
    what = repo or "The model"
    details = f"HTTP {status}" + (f": {redact(said)[:300]}" if said else "")
    tokens = f"{endpoint}/settings/tokens"
    if isinstance(error, errors.GatedRepoError) or code == "GatedRepo":
        return _gate(status, said, endpoint, repo, details)
    if isinstance(error, errors.DisabledRepoError):
        return HubError(
            "repo_disabled", f"{what} was taken down by the hub.", "Choose another model.", details=details
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(
            "revision_not_found",
            f"{what} has no such revision on the hub.",
            "Leave the revision out to take the newest one.",
            details=details,
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return HubError(
            "file_not_found",
            f"{what} has no such file on the hub.",
            "Look at the model's files; they may have been renamed.",
            details=details,
        )
    if status == 401 and "credentials" in said.lower():
        return HubError(
            "token_invalid",
            "The hub does not know your access token.",
            f"Make a new one at {tokens} and give it to SLM Desk.",
            details=details,
        )
    if status in {401, 404} or isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            "repo_not_found",
            f"There is no {repo} on the hub." if repo else "The hub has no such page.",
            "Check the name. A private model needs an access token that may read it.",
            details=details,
        )
    if status == 403:
        return HubError(
            "access_refused",
            f"The hub does not give {what} to your access token.",
            f"Check what the token may do at {tokens}.",
            details=details,
        )
    return _fault_of_hub(status, response, endpoint, details)


def _fault_of_hub(status: int, response: Any, endpoint: str, details: str) -> HubError:
    """An answer that is not about what was asked for: the hub, or the storage it sent us to, is busy or broken."""
    storage = _elsewhere(_address(response), endpoint)
    if status == 429:
        wait = retry_after_s(response.headers)
        hint = f"Try again in {amounts.duration(wait)}." if wait else _LATER
        return HubError(
            "rate_limited",
            f"{storage or 'The hub'} asks for fewer requests.",
            hint,
            details=details,
            temporary=True,
            retry_after_s=wait,
        )
    if status >= 500 or status == 408:
        return HubError(
            "hub_down",
            f"{storage or endpoint} has a fault of its own.",
            _LATER,
            details=details,
            temporary=True,
            retry_after_s=retry_after_s(response.headers),
        )
    return HubError(
        "hub_error", f"The hub answered {status}, which was not expected.", _LATER, details=details
    )


def _gate(status: int, said: str, endpoint: str, repo: str, details: str) -> HubError:
    what = repo or "This model"
    page = f"{endpoint}/{repo}" if repo else endpoint
    words = said.lower()
    if status == 401:
        return HubError(
            "token_missing",
            f"{what} is given only to people who signed in and accepted its licence.",
            f"Accept the licence at {page}, make an access token at {endpoint}/settings/tokens, and give it to "
            "SLM Desk.",
            details=details,
        )
    if "reject" in words:
        return HubError(
            "access_refused",
            f"The publisher refused you access to {what}.",
            "Choose another model.",
            details=details,
        )
    if "await" in words or "pending" in words:
        return HubError(
            "access_pending",
            f"The publisher has not yet answered your request for {what}.",
            f"See {page}, or choose another model meanwhile.",
            details=details,
        )
    if "fine-grained" in words:
        return HubError(
            "token_insufficient",
            f"Your access token may not read models like {what}.",
            f"Allow it to read gated repositories at {endpoint}/settings/tokens.",
            details=details,
        )
    return HubError(
        "licence_not_accepted",
        f"You have not accepted the licence of {what} yet.",
        f"Accept it at {page}, then try again.",
        details=details,
    )


def retry_after_s(headers: Any) -> float | None:
    """The seconds a refusal asks to wait: Retry-After as a number or a date, or RateLimit's `t` (the draft "RateLimit
    header fields for HTTP", which Hugging Face's hub follows). None where nothing is said."""
    text = str(headers.get("Retry-After", "")).strip()
    if text.isascii() and text.isdigit():
        return float(text)
    if not text:
        left = re.search(r"(?:^|[;,\s])t=(\d{1,9})(?!\d)", str(headers.get("RateLimit", "")))
        return float(left[1]) if left else None
    import email.utils
    import time

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _technical(error: BaseException) -> str:
    return redact(f"{type(error).__name__}: {error}")[:300]
