#!/usr/bin/env bash
# Sign an app bundle with the hardened runtime: libraries first, the bundle last.
#
#     packaging/macos/sign.sh "dist/SLM Desk.app" "Developer ID Application: …"
#
# The identity "-" signs for this machine alone, which macOS asks for on arm64 in any case.
set -euo pipefail

bundle=${1:?the app bundle}
identity=${2:?the signing identity, or - for none}
here=$(cd "$(dirname "$0")" && pwd)
options=(--force --sign "$identity" --options runtime --entitlements "$here/entitlements.plist")
if [ "$identity" != "-" ]; then
    options+=(--timestamp)
fi

while IFS= read -r -d '' file; do
    if file -b "$file" | grep -q 'Mach-O'; then
        codesign "${options[@]}" "$file"
    fi
done < <(find "$bundle/Contents" -type f \( -name '*.dylib' -o -name '*.so' -o -perm -u+x \) -print0)
codesign "${options[@]}" "$bundle"
codesign --verify --deep --strict --verbose=2 "$bundle"
