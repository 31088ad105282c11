# bash completion of hastctl. Made by: cargo run -p home --bin completions
_hastctl_existing() {
	echo all; sed -n 's/^[[:space:]]*resource[[:space:]]*\([^[:space:]{]*\).*/\1/p' /etc/hast.conf 2>/dev/null
}
_hastctl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W 'create role list status dump check resolve stop help' -- "$word"))
		return
	fi
	case ${COMP_WORDS[1]}:$before:$word in
	create:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	create:-e:*) : ;;
	create:-k:*) : ;;
	create:-m:*) : ;;
	create:*:-*) COMPREPLY=($(compgen -W '-c -d -h -e -k -m --force --json' -- "$word")) ;;
	create:*) COMPREPLY=($(compgen -W "$(_hastctl_existing)" -- "$word")) ;;
	role:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	role:*:-*) COMPREPLY=($(compgen -W '-c -d -h --wait --if-closed --json' -- "$word")) ;;
	role:init:* | role:primary:* | role:secondary:*) COMPREPLY=($(compgen -W "$(_hastctl_existing)" -- "$word")) ;;
	role:*) COMPREPLY=($(compgen -W 'init primary secondary' -- "$word")) ;;
	list:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	list:*:-*) COMPREPLY=($(compgen -W '-c -d -h --json' -- "$word")) ;;
	list:*) COMPREPLY=($(compgen -W "$(_hastctl_existing)" -- "$word")) ;;
	status:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	status:*:-*) COMPREPLY=($(compgen -W '-c -d -h -v --json' -- "$word")) ;;
	status:*) COMPREPLY=($(compgen -W "$(_hastctl_existing)" -- "$word")) ;;
	dump:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	dump:*:-*) COMPREPLY=($(compgen -W '-c -d -h --json' -- "$word")) ;;
	dump:*) COMPREPLY=($(compgen -W "$(_hastctl_existing)" -- "$word")) ;;
	check:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	check:*:-*) COMPREPLY=($(compgen -W '-c -d -h --json' -- "$word")) ;;
	check:*) COMPREPLY=($(compgen -W "$(_hastctl_existing)" -- "$word")) ;;
	resolve:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	resolve:*:-*) COMPREPLY=($(compgen -W '-c -d -h --discard-local --yes' -- "$word")) ;;
	resolve:*) COMPREPLY=($(compgen -W "$(_hastctl_existing)" -- "$word")) ;;
	stop:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	stop:*:-*) COMPREPLY=($(compgen -W '-c -d -h' -- "$word")) ;;
	stop:*) : ;;
	help:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	help:*:-*) COMPREPLY=($(compgen -W '-c -d -h' -- "$word")) ;;
	help:*) : ;;
	esac
}
complete -F _hastctl hastctl
