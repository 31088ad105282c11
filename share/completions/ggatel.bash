# bash completion of ggatel. Made by: cargo run -p home --bin completions
_ggatel_existing() {
	ggatel list 2>/dev/null | sed -n 's/^ggate//p'
}
_ggatel() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W 'create rescue destroy list' -- "$word"))
		return
	fi
	case ${COMP_WORDS[1]}:$before:$word in
	create:-o:*) COMPREPLY=($(compgen -W 'ro wo rw direct' -- "$word")) ;;
	create:-s:*) : ;;
	create:-t:*) : ;;
	create:-u:*) COMPREPLY=($(compgen -W "$(_ggatel_existing)" -- "$word")) ;;
	create:*:-*) COMPREPLY=($(compgen -W '-o -s -t -u -v' -- "$word")) ;;
	create:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	rescue:-o:*) COMPREPLY=($(compgen -W 'ro wo rw direct' -- "$word")) ;;
	rescue:-u:*) COMPREPLY=($(compgen -W "$(_ggatel_existing)" -- "$word")) ;;
	rescue:*:-*) COMPREPLY=($(compgen -W '-o -u -v' -- "$word")) ;;
	rescue:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	destroy:-u:*) COMPREPLY=($(compgen -W "$(_ggatel_existing)" -- "$word")) ;;
	destroy:*:-*) COMPREPLY=($(compgen -W '-f -u' -- "$word")) ;;
	destroy:*) : ;;
	list:-u:*) COMPREPLY=($(compgen -W "$(_ggatel_existing)" -- "$word")) ;;
	list:*:-*) COMPREPLY=($(compgen -W '-u -v' -- "$word")) ;;
	list:*) : ;;
	esac
}
complete -F _ggatel ggatel
