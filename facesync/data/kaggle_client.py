"""Kaggle's own client, signed in; its failures become one line that says what to do.

Only `kagglesdk` (part of `kaggle`, 1.7 and 2) is used: importing `kaggle` itself signs in at once,
may print a page of help and may end the process. `KAGGLE_API_ENVIRONMENT` chooses the server, as it
does for every program built on that client.
"""

from __future__ import annotations

import functools
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from facesync.errors import DownloadError, FileError
from facesync.files import read_text

TOKEN_PAGE = "https://www.kaggle.com/settings/api"
TIMEOUT_S = (20, 60)
"""Seconds to wait for a connection and for the next bytes; the client itself would wait forever."""


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Kaggle:
    """The requests that a download needs; made by `signed_in`."""

    def __init__(self, client: Any, session: requests.Session) -> None:
        self._api = client.datasets.dataset_api_client
        self._session = session

    def total_bytes(self, dataset: str) -> int:
        """Return the size of a dataset in bytes by Kaggle's account; 0 if unknown."""
        from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

        return int(self._api.get_dataset(_request(ApiGetDatasetRequest, dataset)).total_bytes)

    def open_zip(self, dataset: str) -> requests.Response:
        """Request a dataset as one zip; the caller reads and closes the response."""
        from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

        response: requests.Response = self._api.download_dataset(
            _request(ApiDownloadDatasetRequest, dataset)
        )
        return response

    def open_rest(self, response: requests.Response, start: int) -> requests.Response:
        """Request the content of `response` again from byte `start` on (HTTP Range).

        Only the last request after the redirects is repeated, so that credentials go to Kaggle
        alone and not to the storage that it redirects to.
        """
        request = response.request.copy()
        request.headers["Range"] = f"bytes={start}-"
        rest = self._session.send(request)
        rest.raise_for_status()
        return rest


@contextmanager
def signed_in(dataset: str) -> Iterator[Kaggle]:
    """Yield a client with credentials; failures in the block become a `DownloadError`.

    Raises:
        DownloadError: no credentials, a refusal, no network, or a server that is not Kaggle.
    """
    from kagglesdk.kaggle_client import KaggleClient

    own = find_credentials()
    bundle = _bundle()
    os.environ.setdefault("KAGGLE_API_ENVIRONMENT", "PROD")  # kaggle 1.7 has no default
    with _explained(dataset), KaggleClient() as client:
        session = client.http_client()._session
        session.verify = bundle or True  # kaggle 1.7 does not ask the environment
        session.stream = True  # otherwise kaggle 1.7 reads the whole zip into memory
        session.send = functools.partial(session.send, timeout=TIMEOUT_S)
        # The client looks in fewer places itself, 1.7 in fewer still.
        session.auth = own or session.auth or _oauth(client)
        if session.auth is None:
            raise DownloadError(
                f"no Kaggle credentials: create a token at {TOKEN_PAGE} and set KAGGLE_API_TOKEN "
                "to it, or save it as ~/.kaggle/access_token (KAGGLE_USERNAME with KAGGLE_KEY, "
                "kaggle.json and `kaggle auth login` work too)"
            )
        yield Kaggle(client, session)


def find_credentials() -> requests.auth.AuthBase | None:
    """Find credentials in the environment and in the files that Kaggle documents.

    In Kaggle's order: the variable `KAGGLE_API_TOKEN` (a token or the path of a file with one),
    `~/.kaggle/access_token` (or `.txt`), the variables `KAGGLE_USERNAME` and `KAGGLE_KEY`, then
    `kaggle.json` in `KAGGLE_CONFIG_DIR`, `~/.kaggle` or the XDG folder `kaggle`.

    Raises:
        DownloadError: a kaggle.json without name and key, or invalid characters.
    """
    token = _token()
    pair = None if token else _name_and_key()
    if not all(part.isascii() for part in (token or "", *(pair or ()))):
        raise DownloadError(
            f"the Kaggle credentials have invalid characters: copy them again from {TOKEN_PAGE}"
        )
    if token:
        return _Bearer(token)
    return requests.auth.HTTPBasicAuth(*pair) if pair else None


def _token() -> str | None:
    value = os.environ.get("KAGGLE_API_TOKEN", "").strip()
    if value and not os.path.isfile(value):
        return value
    home = Path(os.path.expanduser("~"), ".kaggle")
    for file in (Path(value), home / "access_token", home / "access_token.txt"):
        if file.is_file() and (token := _text(file).strip()):
            return token
    return None


def _name_and_key() -> tuple[str, str] | None:
    name, key = (os.environ.get(f"KAGGLE_{part}", "").strip() for part in ("USERNAME", "KEY"))
    if name and key:
        return name, key
    home = Path(os.path.expanduser("~"))
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    folders = [home / ".kaggle", xdg / "kaggle"]
    if chosen := os.environ.get("KAGGLE_CONFIG_DIR"):
        folders = [Path(chosen)]
    for file in (folder / "kaggle.json" for folder in folders):
        if file.is_file():
            try:
                found = json.loads(_text(file))
                return str(found["username"]), str(found["key"])
            except (ValueError, KeyError, TypeError) as error:
                raise DownloadError(
                    f"{file} has no username and key: create a new one at {TOKEN_PAGE}"
                ) from error
    return None


def _text(file: Path) -> str:
    try:
        return read_text(file)
    except FileError as error:
        raise DownloadError(f"{error}: create a new one at {TOKEN_PAGE}") from error


def _oauth(client: Any) -> requests.auth.AuthBase | None:
    """Return the credentials of `kaggle auth login`; the client renews expired ones."""
    try:
        from kagglesdk import KaggleCredentials
    except ImportError:  # kaggle 1.7 has no OAuth
        return None
    stored = KaggleCredentials.load(client)
    return _Bearer(stored.get_access_token()) if stored else None


def _request(kind: Any, dataset: str) -> Any:
    request = kind()
    request.owner_slug, request.dataset_slug = dataset.split("/")
    return request


@contextmanager
def _explained(dataset: str) -> Iterator[None]:
    try:
        yield
    except requests.HTTPError as error:
        assert error.response is not None  # requests and kagglesdk always give it
        error.response.close()
        raise DownloadError(_refusal(error.response, dataset)) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        if is_untrusted(error):
            raise DownloadError(
                "Kaggle's certificate is not trusted: a proxy or a virus scanner intercepts it, or "
                "the clock is wrong; if it is a proxy that you trust, set REQUESTS_CA_BUNDLE to "
                "the file with its certificate (PEM)"
            ) from error
        raise DownloadError(
            "Kaggle cannot be reached: check the network, then run the same command again"
        ) from error
    except (requests.RequestException, json.JSONDecodeError) as error:
        raise DownloadError(
            "the answer is not from Kaggle: a proxy or the network's login page may be in the way"
        ) from error


def is_untrusted(error: requests.RequestException) -> bool:
    """Whether TLS refused the server's certificate; to try again does not help."""
    untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
    return isinstance(error, requests.exceptions.SSLError) and untrusted


def _bundle() -> str | None:
    """Return the file or folder of certificates that a variable names, as requests looks for it.

    Raises:
        DownloadError: a file that cannot be used.
    """
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if file := os.environ.get(name):
            try:
                if not os.path.isdir(file):
                    ssl.create_default_context(cafile=file)
            except OSError as error:
                raise DownloadError(
                    f"{name} names {file}, which holds no certificate (PEM): {error.strerror}"
                ) from error
            return file
    return None


def _refusal(response: requests.Response, dataset: str) -> str:
    status = response.status_code
    page = f"https://www.kaggle.com/datasets/{dataset}"
    if status == 401:
        return f"Kaggle does not accept these credentials (401): create new ones at {TOKEN_PAGE}"
    if status == 403:
        return (
            f"Kaggle refuses {dataset} (403): open {page} signed in, accept its terms and verify "
            "your phone if asked; a private dataset and a wrong name give the same error"
        )
    if status == 404:
        return f"Kaggle has no dataset {dataset} (404): check the name, owner/name as in {page}"
    if status == 429:
        pause = response.headers.get("Retry-After", "")
        wait = f"{pause} seconds" if pause.isdigit() else "a few minutes"
        return f"Kaggle limits requests (429): run the same command again in {wait}"
    if status >= 500:
        return f"Kaggle is having problems (HTTP {status}): run again in a few minutes"
    return f"Kaggle refuses {dataset} (HTTP {status}): open {page} to see why"
