"""The parts of `make image-check` that need neither root nor buildah."""

import configparser
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from docker import slim
from docker.image_check import base, programs
from docker.image_check import sandbox as sandbox_module
from docker.image_check.__main__ import TARGETS, check_size
from docker.image_check.cluster import HEAD, SERVICE, STARTS
from docker.image_check.image import Image, largest_parts, refuse_private_words
from docker.image_check.inspecting import SAMPLES, Answer, compare, read_predictions
from docker.image_check.pip_mounts import CONFIGURATION, parse_listing, translate
from docker.image_check.programs import CheckFailed, require, run
from docker.image_check.sandbox import Sandbox, Volume

ROOT = Path(__file__).parents[1]


def image(**changes: object) -> Image:
    about = {
        "name": "localhost/part:cpu",
        "size_bytes": 10,
        "command": ("mambaad", "serve"),
        "environment": ("PATH=/opt/venv/bin:/usr/bin",),
        "user": "10001:10001",
        "folder": "/srv/mambaad",
        "health_command": ("true",),
        "text": "{}",
    }
    return Image(**(about | changes))


def write(path: Path, content: str | bytes = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_variables_win_over_files_and_habits_are_left_out():
    listing = (
        ":env:.find-links='/wheels'\n"
        ":env:.disable-pip-version-check='1'\n"
        "global.find-links='/old'\n"
        "global.user='true'\n"
        "install.index-url='https://packages.example/simple'\n"
    )
    assert parse_listing(listing) == {
        "global": {"find-links": "/wheels"},
        "install": {"index-url": "https://packages.example/simple"},
    }


def test_local_places_are_mounted_and_the_configuration_names_the_mounts(tmp_path: Path):
    wheels = write(tmp_path / "wheels/a.whl").parent
    index = write(tmp_path / "mirror/simple/index.html").parent
    certificate = write(tmp_path / "ca.crt")
    pip = translate(
        {
            "global": {
                "find-links": f"{wheels} https://links.example/torch",
                "extra-index-url": f"{index.as_uri()} https://u:p@packages.example/simple",
                "cert": str(certificate),
            }
        }
    )
    options = pip.options(tmp_path / "pip.conf")
    assert options == [
        f"--volume={tmp_path}/pip.conf:{CONFIGURATION}:ro",
        f"--volume={wheels}:/run/pip/0:ro",
        f"--volume={index.parent}:/run/pip/1:ro",  # the index's files lie beside `simple`
        f"--volume={certificate}:/run/pip/2:ro",
    ]
    inside = configparser.RawConfigParser()
    inside.read_string((tmp_path / "pip.conf").read_text("utf-8"))
    assert inside["global"]["find-links"].split() == ["/run/pip/0", "https://links.example/torch"]
    assert inside["global"]["extra-index-url"].split() == [
        "file:///run/pip/1/simple",
        "https://u:p@packages.example/simple",
    ]
    assert inside["global"]["cert"] == "/run/pip/2"
    private = {str(wheels), str(index), str(certificate), "links.example", "packages.example"}
    assert pip.private_words == private


def test_the_public_index_and_debian_s_certificates_tell_nothing():
    pip = translate({"global": {"index-url": "https://pypi.org/simple", "cert": "/etc/ssl/certs"}})
    assert not pip.private_words


def test_pip_reads_the_configuration_as_written(tmp_path: Path):
    index = write(tmp_path / "mirror/simple/index.html").parent
    links = [str(write(tmp_path / name / "a.whl").parent) for name in "ab"]
    file = tmp_path / "pip.conf"
    pip = translate(
        {"global": {"find-links": " ".join(links)}, "install": {"index-url": index.as_uri()}}
    )
    pip.options(file)
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(
        command, env={"PIP_CONFIG_FILE": str(file)}, capture_output=True, text=True, check=True
    ).stdout
    options = parse_listing(listing)
    assert options["global"]["find-links"].split() == ["/run/pip/0", "/run/pip/1"]
    assert options["install"]["index-url"] == "file:///run/pip/2/simple"


def test_an_image_that_tells_of_this_machine_is_refused(tmp_path: Path):
    write(tmp_path / "etc/hosts", "127.0.0.1 localhost")
    refuse_private_words(image(), tmp_path, {"packages.example"})
    with pytest.raises(CheckFailed, match="localhost/part"):
        refuse_private_words(image(text="ARG packages.example"), tmp_path, {"packages.example"})
    write(tmp_path / "etc/pip.conf", "[global]\nindex-url = https://packages.example/simple\n")
    with pytest.raises(CheckFailed, match=r"etc/pip\.conf"):
        refuse_private_words(image(), tmp_path, {"packages.example"})


def test_the_largest_parts_are_packages_and_folders(tmp_path: Path):
    packages = tmp_path / "opt/venv/lib/python3.11/site-packages"
    write(packages / "torch/lib/libtorch.so", b"x" * 300)
    write(packages / "torch/nn/modules.py", b"x" * 50)
    write(packages / "numpy/core.so", b"x" * 200)
    write(tmp_path / "usr/lib/libc.so", b"x" * 100)
    assert largest_parts(tmp_path) == [(350, "torch"), (200, "numpy"), (100, "usr/lib")]


def test_an_image_over_its_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cpu, edge = TARGETS
    size = 1_000_000_000
    check_size(cpu, image(size_bytes=size), tmp_path)
    with pytest.raises(CheckFailed, match="edge is larger than 490 MB"):
        check_size(edge, image(size_bytes=size), tmp_path)
    assert "edge: 1000 MB, at most 490" in capsys.readouterr().out


def test_missing_programs_are_named_with_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr(programs.shutil, "which", lambda name: None if name == "buildah" else "/x")
    with pytest.raises(CheckFailed) as error:
        require("buildah", "chroot")
    assert str(error.value) == (
        "buildah not found; install: apt-get install --no-install-recommends buildah"
    )


def test_a_program_that_fails_is_shown_with_its_last_words():
    with pytest.raises(CheckFailed, match=r"ended with 3:\nout of disk"):
        run("sh", "-c", "echo out of disk; exit 3")


def test_another_score_or_decision_is_a_fault():
    expected = {"one.png": Answer("OK", 0.25)}
    compare({"one.png": Answer("OK", 0.25005)}, expected, 1e-4)
    for wrong in ({"one.png": Answer("OK", 0.2502)}, {"one.png": Answer("NG", 0.25)}, {}):
        with pytest.raises(CheckFailed, match=r"one\.png"):
            compare(wrong, expected, 1e-4)


def test_predictions_are_read_by_the_sample_s_name():
    line = '{"image": "/mnt/a/one.png", "decision": "NG", "score": 0.75}\n'
    assert read_predictions(line) == {"one.png": Answer("NG", 0.75)}
    assert set(SAMPLES.values()) == {"OK", "NG"}


def test_the_sandbox_mounts_its_root_read_only_before_anything_else(tmp_path: Path):
    volumes = [Volume(tmp_path / "a", "/var/a", writable=True), Volume(tmp_path / "b", "/var/b")]
    sandbox = Sandbox(image(), tmp_path, volumes, {"MAMBAAD_PORT": "8001"})
    first, second, *others = sandbox._inner(["mambaad", "serve"]).splitlines()
    assert first == f"mount --bind {tmp_path} {tmp_path}"
    assert second == f"mount -o remount,bind,ro {tmp_path}"
    remounted = [line for line in others if "remount,bind,ro" in line]
    assert remounted == [f"mount -o remount,bind,ro {tmp_path}/var/b"]
    assert "--userspec=10001:10001" in others[-1]
    assert others[-1].endswith("MAMBAAD_PORT=8001 mambaad serve")


def test_a_container_of_a_pod_sees_the_processes_of_the_one_beside_it(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sandbox_module, "processes_inside", lambda outer: [outer.pid + 1])
    sandbox = Sandbox(image(), tmp_path, [], {})
    assert sandbox._outer(["mambaad"])[:5] == ["unshare", "--mount", "--ipc", "--uts", "--pid"]
    pod = replace(sandbox, beside=SimpleNamespace(pid=41))
    assert pod._outer(["mambaad"])[:4] == ["nsenter", "--target=42", "--pid", "unshare"]
    assert "--pid" not in pod._outer(["mambaad"])[4:]


def test_the_nodes_of_the_cluster_s_check_start_as_those_of_the_overlay():
    overlay = ROOT / "docker/kubernetes/overlays/cluster"
    ray = yaml.safe_load((overlay / "raycluster.yaml").read_text("utf-8"))["spec"]
    head = ray["headGroupSpec"]["rayStartParams"]
    assert {"num-cpus": "0", "include-dashboard": "false"}.items() <= head.items()
    assert {"--head", "--num-cpus=0", "--include-dashboard=false"} <= set(STARTS[HEAD].split())
    service = (overlay / "services.yaml").read_text("utf-8")
    assert "--num-cpus=0" in service
    assert "--num-cpus=0" in STARTS[SERVICE]


def test_slim_deletes_what_its_list_names_and_nothing_else(tmp_path: Path, monkeypatch):
    packages = tmp_path / "site-packages"
    remaining = [
        write(packages / name)
        for name in ("torch/bin/torch_shm_manager", "scipy/ndimage/a.py", "numpy/core/b.py")
    ]
    dropped = [
        write(packages / name)
        for name in (
            "torch/bin/protoc",
            "torch/bin/test_api",
            "torch/include/c10/a.h",
            "torch/lib/libx.a",
            "numpy/tests/test_a.py",
            "numpy/core/tests/test_b.py",
            "scipy/stats/a.py",
        )
    ]
    monkeypatch.setattr(slim.sysconfig, "get_path", lambda _: str(packages))
    slim.main()
    assert [path for path in dropped if path.exists()] == []
    assert all(path.exists() for path in remaining)
    assert (packages / "scipy/ndimage/__pycache__").is_dir()


def test_the_mirror_of_the_base_is_the_one_that_apt_has(monkeypatch):
    targets = (
        "bookworm-security main http://security.example/debian\n"
        "bookworm main mirror+file:/etc/apt/mirrors.txt\n"
        "bookworm main http://mirror.example/debian\n"
        "bookworm contrib http://contrib.example/debian\n"
    )
    monkeypatch.setattr(base.shutil, "which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr(base, "run", lambda *_: targets)
    assert base.apt_mirrors() == ["http://mirror.example/debian"]


def test_the_base_keeps_licences_alone_of_the_documentation(tmp_path: Path):
    licence = write(tmp_path / "bash/copyright")
    write(tmp_path / "bash/README")
    write(tmp_path / "perl/changelog.gz")
    base.keep_licences(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [licence]
    assert not (tmp_path / "perl").exists()
