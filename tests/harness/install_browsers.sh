#!/bin/sh
# Makes sure that the browsers which the tests drive are there. On Debian and Ubuntu as root it installs what is
# missing; elsewhere it says what to install and fails, so that no browser test is skipped in silence.
set -eu

missing=""
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
    command -v google-chrome >/dev/null 2>&1 || missing="$missing chromium"
command -v firefox-esr >/dev/null 2>&1 || command -v firefox >/dev/null 2>&1 || missing="$missing firefox-esr"
# A system that has browsers but no font at all draws empty pages.
if command -v fc-list >/dev/null 2>&1; then
    [ -n "$(fc-list 2>/dev/null | head -n 1)" ] || missing="$missing fonts-dejavu-core"
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing for the tests:$missing fonts-dejavu-core"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of package names
    exec apt-get install -y -qq --no-install-recommends $missing fonts-dejavu-core
fi

cat >&2 <<MESSAGE
The browser tests need what is not installed here:$missing

  Debian          sudo apt-get install --no-install-recommends chromium firefox-esr fonts-dejavu-core
  Fedora          sudo dnf install chromium firefox
  Arch            sudo pacman -S chromium firefox
  macOS, others   Chromium or Google Chrome, and Firefox 115 or newer, as "chromium" (or "google-chrome") and
                  "firefox" in the PATH

Ubuntu's chromium and firefox are snaps, which cannot be driven by the tests: take Google Chrome's .deb and Mozilla's.
Then run this again. The other tests run without them: pytest -m 'not browser'
MESSAGE
exit 1
