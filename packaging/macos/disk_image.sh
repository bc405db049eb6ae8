#!/usr/bin/env bash
# Put an app bundle into a disk image with a link to Applications.
#
#     packaging/macos/disk_image.sh "dist/SLM Desk.app" dist/slmdesk-1.0.0-macos-arm64.dmg
set -euo pipefail

bundle=${1:?the app bundle}
target=${2:?the disk image to make}
name=$(basename "$bundle" .app)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cp -R "$bundle" "$folder/"
ln -s /Applications "$folder/Applications"
rm -f "$target"
hdiutil create -quiet -volname "$name" -srcfolder "$folder" -fs HFS+ -format ULFO "$target"
hdiutil verify -quiet "$target"
