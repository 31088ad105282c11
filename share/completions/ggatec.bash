# bash completion of ggatec. Made by: cargo run -p home --bin completions
_ggatec_existing() {
	ggatec list 2>/dev/null | sed -n 's/^ggate//p'
}
_ggatec() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W 'create rescue destroy list' -- "$word"))
		return
	fi
	case ${COMP_WORDS[1]}:$before:$word in
	create:-o:*) COMPREPLY=($(compgen -W 'ro wo rw direct' -- "$word")) ;;
	create:-p:*) : ;;
	create:-q:*) : ;;
	create:-R:*) : ;;
	create:-S:*) : ;;
	create:-s:*) : ;;
	create:-t:*) : ;;
	create:-u:*) COMPREPLY=($(compgen -W "$(_ggatec_existing)" -- "$word")) ;;
	create:*:-*) COMPREPLY=($(compgen -W '-n -o -p -q -R -S -s -t -u -v' -- "$word")) ;;
	create:*) : ;;
	rescue:-o:*) COMPREPLY=($(compgen -W 'ro wo rw direct' -- "$word")) ;;
	rescue:-p:*) : ;;
	rescue:-R:*) : ;;
	rescue:-S:*) : ;;
	rescue:-u:*) COMPREPLY=($(compgen -W "$(_ggatec_existing)" -- "$word")) ;;
	rescue:*:-*) COMPREPLY=($(compgen -W '-n -o -p -R -S -u -v' -- "$word")) ;;
	rescue:*) : ;;
	destroy:-u:*) COMPREPLY=($(compgen -W "$(_ggatec_existing)" -- "$word")) ;;
	destroy:*:-*) COMPREPLY=($(compgen -W '-f -u' -- "$word")) ;;
	destroy:*) : ;;
	list:-u:*) COMPREPLY=($(compgen -W "$(_ggatec_existing)" -- "$word")) ;;
	list:*:-*) COMPREPLY=($(compgen -W '-u -v' -- "$word")) ;;
	list:*) : ;;
	esac
}
complete -F _ggatec ggatec
