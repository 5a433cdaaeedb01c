-- Sources $SETTINGS, opens $FILE, waits for diagnostics, prints line and code of each, and goes.
vim.cmd('source ' .. vim.env.SETTINGS)
vim.cmd('edit ' .. vim.env.FILE)
vim.wait(60000, function() return #vim.diagnostic.get(0) > 0 end, 50)
local found = {}
for _, one in ipairs(vim.diagnostic.get(0)) do
  table.insert(found, { one.lnum, one.code })
end
io.stdout:write(vim.fn.json_encode(found) .. '\n')
vim.cmd('qall!')
