#!/usr/bin/env bash
# Have Apple check a disk image, and staple the ticket to it.
#
#     packaging/macos/notarize.sh dist/slmdesk-1.0.0-macos-arm64.dmg
#
# Wants NOTARY_KEY (the path of an App Store Connect key), NOTARY_KEY_ID and NOTARY_ISSUER.
set -euo pipefail

image=${1:?the disk image}
: "${NOTARY_KEY:?the path of the key}" "${NOTARY_KEY_ID:?the id of the key}" "${NOTARY_ISSUER:?the issuer of the key}"

xcrun notarytool submit "$image" --wait --timeout 30m \
    --key "$NOTARY_KEY" --key-id "$NOTARY_KEY_ID" --issuer "$NOTARY_ISSUER"
xcrun stapler staple "$image"
spctl --assess --type open --context context:primary-signature --verbose=2 "$image"
