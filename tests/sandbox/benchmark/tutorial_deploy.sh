#!/bin/bash
# The tutorial's deploy.sh, in its order and with its pauses, with `doctl` replaced by lists of addresses.
#
# Usage: tutorial_deploy.sh deploy|rollback, with the variables PROXY, BLUE, GREEN, KEY, REPOSITORY and MIRROR.
# Only what would keep it from working is different: it reaches HAProxy by SSH instead of running beside it, no
# certificate is asked for, and answers name their color, by which the traffic judge knows who has the traffic.
here=$(dirname "$0")

remote() {
    local address=$1
    shift
    ssh -i "$KEY" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        "root@$address" "$@"
}

servers() {
    local color=$1
    shift
    for ip in "$@"; do
        echo "    server ${color}_app_${ip//./_} $ip:8080 check"
    done
}

# update_haproxy DEFAULT BLUE-SERVERS GREEN-SERVERS
update_haproxy() {
    remote "$PROXY" "cat >/tmp/haproxy.cfg" <<END
global
    log /dev/log local0
    log /dev/log local1 notice
    chroot /var/lib/haproxy
    stats socket /run/haproxy/admin.sock mode 660 level admin expose-fd listeners
    stats timeout 30s
    user haproxy
    group haproxy
    daemon

defaults
    log global
    mode http
    option httplog
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000

frontend http_frontend
    bind *:80
    mode http
    default_backend $1_backend

backend blue_backend
    mode http
    balance roundrobin
    http-response set-header X-Color blue
$2

backend green_backend
    mode http
    balance roundrobin
    http-response set-header X-Color green
$3
END
    if ! remote "$PROXY" "haproxy -c -f /tmp/haproxy.cfg && mv /tmp/haproxy.cfg /etc/haproxy/haproxy.cfg &&
        systemctl reload haproxy"; then
        echo "HAProxy configuration validation failed. Aborting."
        exit 1
    fi
}

deploy_to_green() {
    for ip in $GREEN; do
        if ! remote "$ip" "bash -s -- $REPOSITORY /opt/your_perl_app $MIRROR" <"$here/tutorial_steps.sh"; then
            echo "Deployment to $ip failed."
            return 1
        fi
    done
}

health_check() {
    for _ in $(seq 1 5); do
        if curl -s --head "http://$1:8080/health" | grep "200 OK" >/dev/null; then
            return 0
        fi
        sleep 10
    done
    return 1
}

# The words of $BLUE and $GREEN are addresses.
# shellcheck disable=SC2086
case $1 in
    rollback)
        update_haproxy blue "$(servers blue $BLUE)" ""
        ;;
    deploy)
        update_haproxy blue "$(servers blue $BLUE)" "$(servers green $GREEN)"
        if ! deploy_to_green; then
            echo "Deployment to Green environment failed. Aborting."
            exit 1
        fi
        for ip in $GREEN; do
            health_check "$ip" || echo "WARNING: Some Green servers failed health checks. Proceeding with caution."
        done
        update_haproxy green "" "$(servers green $GREEN)"
        for ip in $GREEN; do
            if ! health_check "$ip"; then
                echo "CRITICAL: Final health checks failed after traffic switch. Manual rollback required!"
                exit 1
            fi
        done
        echo "Deployment pipeline finished."
        ;;
esac
