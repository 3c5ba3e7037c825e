#!/bin/sh
# Makes sure that the Postgres binaries (initdb, postgres; 14 or newer) are here:
# configd and the tests run private servers with them. Installs them with the
# system's package manager when they are missing, and says so. It starts no
# server and changes none.
set -eu

oldest=14

# found succeeds if a place that configd looks at has binaries new enough.
found() {
	for dir in "$(dirname "$(readlink -f "$(command -v postgres || echo /none/postgres)")")" \
		/usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* \
		/opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
		/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin \
		/Applications/Postgres.app/Contents/Versions/*/bin; do
		if [ ! -x "$dir/initdb" ] || [ ! -x "$dir/postgres" ]; then continue; fi
		version=$("$dir/postgres" --version | sed 's/.*(PostgreSQL) \([0-9]*\).*/\1/')
		[ "${version:-0}" -ge "$oldest" ] && return 0
	done
	return 1
}

# as_root runs a command as root, or says what to type.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		sudo -n "$@"
	else
		echo "This needs root. Type this, then run make again:" >&2
		echo "  sudo $install" >&2
		exit 1
	fi
}

# Debian's package makes a server of its own and starts it, unless a setting says
# no; the setting is taken back afterwards.
install_debian() {
	setting=/etc/postgresql-common/createcluster.d/config-api.conf
	as_root apt-get update -q
	as_root mkdir -p "$(dirname "$setting")"
	echo 'create_main_cluster = false' | as_root tee "$setting" >/dev/null
	status=0
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends postgresql || status=$?
	as_root rm -f "$setting"
	return $status
}

found && exit 0

if command -v apt-get >/dev/null; then
	install="apt-get install -y postgresql"
elif command -v dnf >/dev/null; then
	install="dnf install -y postgresql-server"
elif command -v apk >/dev/null; then
	install="apk add postgresql"
elif command -v brew >/dev/null; then
	install="brew install postgresql@17"
else
	echo "No Postgres ($oldest or newer) here, and no package manager that this script knows." >&2
	echo "Install it, see https://www.postgresql.org/download/, then run make again." >&2
	exit 1
fi

echo "No Postgres ($oldest or newer) here: installing it with: $install" >&2
case $install in
apt-get*) install_debian >&2 ;;
brew*) $install >&2 ;; # refuses root
*) as_root sh -c "$install" >&2 ;;
esac || {
	echo "That did not work: $install" >&2
	exit 1
}
found || {
	echo "Installed, but still no Postgres $oldest or newer where it is expected." >&2
	exit 1
}
