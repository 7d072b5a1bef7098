# Environment given to this instance at its creation.
case $- in
*a*) kvmctl_a= ;;
*) kvmctl_a=1 && set -a ;;
esac
if [ -r /etc/kvmctl/env ]; then . /etc/kvmctl/env; fi
if [ -r /etc/kvmctl/env.secret ]; then . /etc/kvmctl/env.secret; fi
if [ -n "$kvmctl_a" ]; then set +a; fi
unset kvmctl_a
