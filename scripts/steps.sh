# Sourced by the scripts here: times steps, says where the time went. bash >= 5.

step_began_all=$EPOCHREALTIME
step_lines=()

elapsed_since() { # seconds with two decimals since an $EPOCHREALTIME
	local us=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
	printf '%d.%02d' $((us / 1000000)) $((us % 1000000 / 10000))
}

step() { # step TEXT COMMAND...: run, and print how long it took
	local text=$1 began=$EPOCHREALTIME status=0
	shift
	"$@" || status=$?
	local line
	line=$(printf '%-58s %6s s' "$text" "$(elapsed_since "$began")")
	if ((status)); then
		line+="  FAILED ($status)"
	fi
	step_lines+=("$line")
	echo "$line"
	return $status
}

summary() { # summary TEXT: where the time went
	echo
	printf '%s\n' "${step_lines[@]}"
	printf '%-58s %6s s\n' "$1" "$(elapsed_since "$step_began_all")"
}

total() { # total TEXT: only the sum
	printf '%-58s %6s s\n' "$1" "$(elapsed_since "$step_began_all")"
}
