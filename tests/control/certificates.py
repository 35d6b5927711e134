"""Certificates of an authority of our own, made by openssl."""

import subprocess


def openssl(*argv):
    subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True)


def authority(directory, name="ca"):
    """Make an authority; its certificate is DIRECTORY/NAME.crt."""
    key = directory / f"{name}.key"
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
    openssl(
        "req", "-x509", "-new", "-key", key, "-days", 2, "-subj", f"/CN={name}",
        "-out", directory / f"{name}.crt",
    )  # fmt: skip


def certificate(directory, name, alternative="", ca="ca", days=2):
    """Make NAME.crt and NAME.key, with a common name and perhaps an alternative (`IP:...`)."""
    key, request = directory / f"{name}.key", directory / f"{name}.csr"
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
    openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
    extension = directory / f"{name}.ext"
    extension.write_text(f"subjectAltName={alternative}\n" if alternative else "")
    openssl(
        "x509", "-req", "-in", request, "-CA", directory / f"{ca}.crt", "-CAkey",
        directory / f"{ca}.key", "-CAcreateserial", "-days", days, "-extfile", extension,
        "-out", directory / f"{name}.crt",
    )  # fmt: skip
