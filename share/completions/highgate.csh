# Made by: cargo run -p home --bin completions
# To be sourced in .tcshrc.
complete ggatec \
	'p/1/(create rescue destroy list)/' \
	'n/-o/(ro wo rw direct)/' \
	'n/-p/x:port:/' \
	'n/-q/x:queue size:/' \
	'n/-R/x:receive buffer:/' \
	'n/-S/x:send buffer:/' \
	'n/-s/x:sector size:/' \
	'n/-t/x:timeout:/' \
	'n/-u/x:unit:/' \
	'c/-/(f n o p q R S s t u v)/'
complete ggated \
	'n/-a/x:address:/' \
	'n/-F/f/' \
	'n/-p/x:port:/' \
	'n/-R/x:receive buffer:/' \
	'n/-S/x:send buffer:/' \
	'c/-/(a F h n p R S v)/' \
	'p/*/f/'
complete ggatel \
	'p/1/(create rescue destroy list)/' \
	'n/-o/(ro wo rw direct)/' \
	'n/-s/x:sector size:/' \
	'n/-t/x:timeout:/' \
	'n/-u/x:unit:/' \
	'c/-/(f o s t u v)/' \
	'p/*/f/'
complete hastctl \
	'p/1/(create role list status dump check resolve stop help)/' \
	'n/-c/f/' \
	'n/-e/x:extentsize:/' \
	'n/-k/x:keepdirty:/' \
	'n/-m/x:mediasize:/' \
	'c/--/(force wait if-closed json discard-local yes)/' \
	'c/-/(c d h e k m v)/' \
	'n/role/(init primary secondary)/'
complete hastd \
	'n/-c/f/' \
	'n/-P/f/' \
	'c/-/(c d F h P t)/'
