# shellcheck shell=bash source-path=SCRIPTDIR
# Everything the commands beside this folder need.

# shellcheck source=common.sh
source "${BASH_SOURCE[0]%/*}/common.sh"
# shellcheck source=packages.sh
source "$stack/lib/packages.sh"
# shellcheck source=server.sh
source "$stack/lib/server.sh"
# shellcheck source=../kafka/service.sh
source "$stack/kafka/service.sh"
# shellcheck source=../postgres.sh
source "$stack/postgres.sh"
# shellcheck source=../jaeger.sh
source "$stack/jaeger.sh"
# shellcheck source=../redis.sh
source "$stack/redis.sh"
