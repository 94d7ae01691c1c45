"""`make audit`: asks the package index, by pip-audit, which installed packages have known holes.

    python .ci/audit.py PROGRAM        PROGRAM is pip-audit's path

Exits 0 where every package was looked up and none has a hole, 1 where one has, and 2 where
something was not looked up: an index that does not answer, or that knows few packages, is no clean
bill.
"""

import json
import subprocess
import sys

OWN = "mambaad-service"
_NAMED = 10


def main(program: str) -> int:
    """Run the program, print what it found, and return the exit status."""
    command = [program, "--format", "json", "--progress-spinner", "off"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(answer.stdout)["dependencies"]
        found = [package for package in packages if package.get("vulns")]
        skipped = [p for p in packages if "skip_reason" in p and p["name"] != OWN]
        audited = len([p for p in packages if "skip_reason" not in p])
    except (AttributeError, KeyError, TypeError, ValueError):
        last = (answer.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"make audit: nothing was checked: {last[:300]}", file=sys.stderr)
        return 2
    for package in found:
        for hole in package["vulns"]:
            fixed = ", ".join(hole.get("fix_versions", ())) or "no version"
            print(f"{package['name']} {package['version']}: {hole['id']}, mended in {fixed}")
    print(f"{audited} packages audited, {len(found)} with known holes, {len(skipped)} not audited")
    if found:
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
