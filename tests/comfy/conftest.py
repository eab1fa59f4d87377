"""Fixtures on a real ComfyUI, see comfy_server.py."""

import comfy_server
import pytest


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running ComfyUI with this pack and, to feed it with strange things, another one."""
    if not comfy_server.is_prepared():
        pytest.skip("NO COMFYUI: `make comfy` has not prepared it (it needs PyPI), so the nodes were not tested in the real thing")
    with comfy_server.running(tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture(scope="session")
def object_info(server) -> dict:
    return server.get("/object_info")
