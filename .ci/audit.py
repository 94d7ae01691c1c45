"""`make audit`: pip-audit asks the package index for known vulnerabilities of installed packages.

    python .ci/audit.py PROGRAM        PROGRAM is pip-audit's path

Exits with 0 if all packages were checked and none is vulnerable, with 1 if one is, and with 2 if a
package was not checked: a silent or incomplete index proves nothing.
"""

import json
import subprocess
import sys

OWN = "mambaad-service"
_NAMED = 10


def main(program: str) -> int:
    """Run the program, print its findings, and return the exit status."""
    command = [program, "--format", "json", "--progress-spinner", "off"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(answer.stdout)["dependencies"]
        vulnerable = [package for package in packages if package.get("vulns")]
        skipped = [p for p in packages if "skip_reason" in p and p["name"] != OWN]
        audited = len([p for p in packages if "skip_reason" not in p])
    except (AttributeError, KeyError, TypeError, ValueError):
        last = (answer.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"make audit: nothing was checked: {last[:300]}", file=sys.stderr)
        return 2
    for package in vulnerable:
        for hole in package["vulns"]:
            fixed = ", ".join(hole.get("fix_versions", ())) or "no version"
            print(f"{package['name']} {package['version']}: {hole['id']}, mended in {fixed}")
    print(
        f"{audited} packages audited, {len(vulnerable)} with known holes, "
        f"{len(skipped)} not audited"
    )
    if vulnerable:
        return 1
    if skipped or not audited:
        names = ", ".join(package["name"] for package in skipped[:_NAMED])
        more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        reason = f": {names}{more} ({skipped[0]['skip_reason']})" if skipped else ""
        print(f"make audit: {len(skipped)} packages were not audited{reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
