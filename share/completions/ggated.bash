# bash completion of ggated. Made by: cargo run -p home --bin completions
_ggated() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	case :$before:$word in
	:-a:*) : ;;
	:-F:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	:-p:*) : ;;
	:-R:*) : ;;
	:-S:*) : ;;
	:*:-*) COMPREPLY=($(compgen -W '-a -F -h -n -p -R -S -v' -- "$word")) ;;
	:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	esac
}
complete -F _ggated ggated
